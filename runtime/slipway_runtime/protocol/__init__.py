"""What requests and answers mean. Pure: bytes and arrays in, arrays and bytes out; no sockets, no torch."""
