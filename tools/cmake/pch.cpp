// The source that the shared precompiled header is made for.
