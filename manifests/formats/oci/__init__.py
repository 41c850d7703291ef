"""``oci``: images and artifacts, as container clients pull them."""
