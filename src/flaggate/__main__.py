"""python -m flaggate."""

from flaggate.cli.main import main

main()
