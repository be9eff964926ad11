"""Every configuration key, declared once: name, type, default, what is allowed."""
