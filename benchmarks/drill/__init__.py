"""Drills: real servers under load, and what goes wrong with them, one thing at a time.

python -m benchmarks.drill                    # all of them
python -m benchmarks.drill --list
python -m benchmarks.drill --only store-killed --on postgresql
"""
