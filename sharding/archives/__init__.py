"""A tar, tar.gz or tar.zst from anywhere, member by member."""
