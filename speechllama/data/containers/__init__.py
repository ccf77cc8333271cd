"""What kind of file a recording is, and what its headers are worth: a path -> the parts that can be decoded."""
