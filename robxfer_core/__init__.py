"""robxfer: does adversarial robustness help a network transfer? The library: spec, plan, science, ledger, client."""

__version__ = "0.1.0"
