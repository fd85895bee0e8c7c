"""Pure decoders: the bytes that an output plugin sends become changes. No I/O."""
