"""Tool calls as text: for models that only write text, and for clients that would execute text.

formats    the one table of how calls are written, which all others go by
guard      what keeps an answer from being taken for a call
patterns   patterns that know when they have begun
"""
