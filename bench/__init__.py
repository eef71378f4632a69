"""Measurements. They are ratios against something measured in the same run, and no test asserts them."""
