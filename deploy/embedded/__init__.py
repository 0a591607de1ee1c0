"""
PostgreSQL and Valkey from wheels, kept by a detached process for as long as somebody uses them.

`session.join()` is the way in: it starts the keeper when none runs, holds a shared lock while its process lives, and
gives the addresses. The keeper stops both servers once nobody holds that lock any more. Nothing here imports Django.
"""
