//! OpenAPI v2 and v3 of what is served.
