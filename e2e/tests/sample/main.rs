//! Upstream's sample-apiserver and `examples/wardle` answer the same requests; answers are compared field by field.
