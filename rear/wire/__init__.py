"""Domain values as protobuf messages, and back.

`write_*` fills a message where it stands, `*_to_proto` makes a new one, and `read_*` takes what this project
itself has written. What a caller sent is not trusted: `rear.wire.requests` and `rear.wire.selectors` read it
and name the field that is wrong.
"""
