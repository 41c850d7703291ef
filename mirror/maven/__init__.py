"""Maven repositories outside: what a build asks for, what an artifact needs, what Nexus lists."""
