"""The processes of a server; one file is the whole life of one of them."""
