"""Writers of a set in the formats that others read, one file each."""
