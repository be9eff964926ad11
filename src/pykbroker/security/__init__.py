"""Who a client is and what it may do, as pure rules: principals, ACLs, what each API needs, SASL's conversations."""
