"""The auditor's tool: says from signatures alone whether what was stored is true.

It stands on `comity_common` and the conventions of the command line. It opens no connection and no
database, and needs neither PyTorch nor the parts of the institutions and the operator.
"""
