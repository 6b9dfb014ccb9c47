//! permessage-deflate (RFC 7692): parameters and codec.
