"""
Deploy plugs lending, risk and otc together.

The one package that may import everything, and that nobody imports.
"""
