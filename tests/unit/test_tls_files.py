"""Certificate, key and authorities in files: what is taken, what is refused, and what a change does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from rear.rpc.identity import identity_in
from rear.rpc.spiffe import DOMAIN_NAME, NoIdentity, check_identity, sole_identity
from rear.rpc.tls_files import TRY_AGAIN_AFTER, TlsError, TlsFiles, WatchedMaterial, read_material, unbound
from tests.certificates import Pair, TestAuthority, tampered, write

NODE = "spiffe://local.test/node/n1"


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def files(tmp_path: Path, authority: TestAuthority) -> TlsFiles:
    return write(tmp_path, authority.issue(NODE, dns=["localhost"]), authority.pem)


@pytest.mark.parametrize(
    "uri",
    [
        "https://local.test/node/n1",
        "spiffe://local.test/n1",
        "spiffe://local.test/a/node/n1",
        "spiffe://local.test/node/n1/",
        "spiffe://local.test/node/..",
        "spiffe://LOCAL.test/node/n1",
        "spiffe://local.test:1/node/n1",
        "spiffe://u@local.test/node/n1",
        "spiffe://local.test/node/n1?x",
        "spiffe://local.test/node/n%31",
        "spiffe://local.test/node/n1\n",
        "spiffe:///node/n1",
        "spiffe://local.test/local/anonymous",
        "spiffe://local.test/local/other",
        "spiffe://local.test/node/" + "x" * 600,
        "",
    ],
)
def test_only_one_form_is_an_identity(uri: str) -> None:
    with pytest.raises(NoIdentity):
        check_identity(uri)


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a.", "-a.b", "a-.b", "A.b", "a_b", "a\n", "a." * 130 + "a", "a/b"])
def test_a_domain_is_a_dns_name(name: str) -> None:
    assert DOMAIN_NAME.fullmatch(name) is None
    assert DOMAIN_NAME.fullmatch("edge-1.campus.example")


def test_a_certificate_names_exactly_one() -> None:
    assert sole_identity((NODE,)) == NODE
    with pytest.raises(NoIdentity, match="has no URI SAN"):
        sole_identity(())
    with pytest.raises(NoIdentity, match="has 2 URI SANs"):
        sole_identity((NODE, NODE))


def test_material_is_read(files: TlsFiles) -> None:
    material = WatchedMaterial(files, expected=NODE).current()
    assert material.identity == NODE
    assert material.cert_pem == files.cert.read_bytes()


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65_537, 2_048)])
def test_other_kinds_of_keys_are_taken(
    tmp_path: Path, authority: TestAuthority, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    WatchedMaterial(write(tmp_path, authority.issue(NODE, key=key), authority.pem), expected=NODE)


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65_537, 1_024),
    ],
)
def test_a_kind_of_key_that_grpc_cannot_use_is_refused(
    tmp_path: Path, authority: TestAuthority, key: CertificateIssuerPrivateKeyTypes
) -> None:
    pair = authority.issue(NODE, key=key)
    with pytest.raises(TlsError, match="a kind that gRPC cannot use, or a weak one"):
        WatchedMaterial(write(tmp_path, pair, authority.pem), expected=NODE)


def test_what_is_wrong_is_said_of_the_file(files: TlsFiles, authority: TestAuthority) -> None:
    def refused(pair: Pair, because: str) -> None:
        files.cert.write_bytes(pair.cert)
        files.key.write_bytes(pair.key)
        with pytest.raises(TlsError, match=because) as caught:
            WatchedMaterial(files, expected=NODE)
        assert str(files.cert.parent) in str(caught.value)

    good = authority.issue(NODE)
    refused(Pair(good.cert, authority.issue(NODE).key), "is not the key of the certificate")
    refused(Pair(b"", good.key), "holds no certificate in PEM")
    refused(Pair(good.cert[:200], good.key), "holds no certificate in PEM")
    refused(Pair(good.cert + authority.pem[:200], good.key), "is not whole: the certificates after the first 1 cannot")
    refused(Pair(good.cert, good.key[:100]), "holds no private key in PEM")
    refused(Pair(good.cert, good.cert), "holds no private key in PEM")
    refused(authority.issue(NODE, lasts=-timedelta(hours=1)), "expired at .*: renew it")
    refused(authority.issue("spiffe://local.test/node/n2"), "is of spiffe://local.test/node/n2, but this process is")
    refused(authority.issue(NODE, "spiffe://local.test/buyer/a"), "has 2 URI SANs")
    refused(authority.issue(dns=["localhost"]), "has no URI SAN")
    files.cert.unlink()
    with pytest.raises(TlsError, match=r"cert\.pem cannot be read: No such file"):
        WatchedMaterial(files, expected=NODE)


def test_unchanged_files_are_not_read_again(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = WatchedMaterial(files, expected=NODE)
    first = watched.current()
    monkeypatch.setattr("rear.rpc.tls_files.read_material", lambda *_: pytest.fail("the files were read"))
    assert watched.current() is first


def test_a_new_pair_is_taken_once_it_is_whole(files: TlsFiles, authority: TestAuthority) -> None:
    watched = WatchedMaterial(files, expected=NODE)
    first, renewed = watched.current(), authority.issue(NODE)

    files.key.write_bytes(renewed.key)
    assert watched.current() is first
    assert "is not the key" in (watched.trouble or "")
    files.cert.write_bytes(renewed.cert[:100])
    assert watched.current() is first
    files.cert.unlink()
    assert watched.current() is first
    files.cert.write_bytes(renewed.cert)
    assert watched.current().cert_pem == renewed.cert
    assert watched.trouble is None


def test_somebody_elses_new_certificate_is_not_taken(files: TlsFiles, authority: TestAuthority) -> None:
    watched = WatchedMaterial(files, expected=NODE)
    first = watched.current()
    write(files.cert.parent, authority.issue("spiffe://local.test/node/n2"), authority.pem)
    assert watched.current() is first
    write(files.cert.parent, authority.issue(NODE, lasts=-timedelta(hours=1)), authority.pem)
    assert watched.current() is first


def test_what_cannot_be_used_yet_is_tried_again(files: TlsFiles, authority: TestAuthority) -> None:
    moment, clock = datetime.now(UTC), 0.0
    watched = WatchedMaterial(files, expected=NODE, now=lambda: moment, clock=lambda: clock)
    renewed = authority.issue(NODE)
    moment -= timedelta(days=30)
    write(files.cert.parent, renewed, authority.pem)
    assert watched.current().cert_pem != renewed.cert
    assert "is not valid before" in (watched.trouble or "")
    moment += timedelta(days=30)
    assert watched.current().cert_pem != renewed.cert
    clock += TRY_AGAIN_AFTER
    assert watched.current().cert_pem == renewed.cert
    assert watched.trouble is None


def test_without_an_expectation_it_must_stay_the_same_persons(files: TlsFiles, authority: TestAuthority) -> None:
    watched = WatchedMaterial(files, expected=None)
    write(files.cert.parent, authority.issue("spiffe://local.test/node/n2"), authority.pem)
    assert watched.current().identity == NODE
    assert "is of spiffe://local.test/node/n2" in (watched.trouble or "")


@pytest.mark.parametrize(
    ("written", "instead", "because"),
    [
        ("06072a8648ce3d0201", "06072a8648ce3d0209", "cannot be read: Unknown key type"),
        ("06082a8648ce3d030107", "06082a8648ce3d030109", "cannot be read: Curve .* is not supported"),
        ("8609" + b"localhost".hex(), "a309" + b"localhost".hex(), "are not supported types"),
    ],
)
def test_a_certificate_that_is_no_certificate_of_ours_is_refused(
    tmp_path: Path, authority: TestAuthority, written: str, instead: str, because: str
) -> None:
    pair = authority.issue("localhost")
    changed = Pair(tampered(pair.cert, written, instead), pair.key)
    with pytest.raises(TlsError, match=because):
        read_material(write(tmp_path, changed, authority.pem), datetime.now(UTC))


def test_a_certificate_with_an_extension_twice_names_nobody() -> None:
    basic_constraints, name_constraints = "0603551d13", "0603551d1e"
    twice = tampered(TestAuthority(domain="local.test").pem, name_constraints, basic_constraints)
    with pytest.raises(NoIdentity, match=r"Duplicate .* extension"):
        identity_in(twice)


def test_authorities_that_can_vouch_for_everybody_are_found() -> None:
    own, free = TestAuthority("own", domain="local.test"), TestAuthority("free")
    assert unbound(own.pem + free.pem) == ("CN=free",)
    assert unbound(own.pem) == ()


def test_new_authorities_are_taken(files: TlsFiles, authority: TestAuthority) -> None:
    watched = WatchedMaterial(files, expected=NODE)
    both = authority.pem + TestAuthority("the next").pem
    files.ca.write_bytes(both)
    assert watched.current().ca_pem == both
