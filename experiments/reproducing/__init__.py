"""Published cells: their list, the processes that run them, the ledger, its page."""
