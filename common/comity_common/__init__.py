"""What institution, operator and auditor share: pure code without socket, file, clock or torch."""
