"""Dify in a box: real app exports run by Dify's own engine behind Dify's service API."""
