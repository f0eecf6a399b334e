"""This project beside its peers and beside a hand-written `if`, in one table: `python -m benchmarks.peers`."""
