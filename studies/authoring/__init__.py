"""What an author of a basis or a policy is given: a package to start from, a measurement and a picture.

The checks themselves are :mod:`lrlora.testing`, which needs nothing of the studies.
"""
