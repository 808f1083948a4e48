"""The rehearsal's lines and slot words, one file a language (see `streams.sources.rehearsal`)."""
