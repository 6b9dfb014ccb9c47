//! Bytes to values and back: the frame header, masking, close codes and UTF-8 (RFC 6455 section 5).
