"""A Starlette app of two apps from PyPI: starlette-admin has the articles written, ariadne tells of them by GraphQL.

`plain` is the app as it was; `flagged` adds what docs/starlette.md says.
"""
