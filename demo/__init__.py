"""The main job, played on real parts and told live."""
