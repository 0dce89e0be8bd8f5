"""Files of data: the archive, its encoding, and how a file is written."""
