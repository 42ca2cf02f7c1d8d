"""One module per kind of vector: what it holds, how it is made and checked.

Each has `NAME`, the folder; `make`, which returns the fields of each file by
its name; and `check`, which fails unless the product does what a file says.
"""
