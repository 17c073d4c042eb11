"""Jobs on the devices of a Ray cluster. Ray is no part of what an artist installs: requirements/ray.txt."""
