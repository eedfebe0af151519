"""Encoders that Hugging Face ``transformers`` builds."""
