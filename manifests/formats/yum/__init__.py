"""``yum``: RPM repositories, as dnf and yum read them."""
