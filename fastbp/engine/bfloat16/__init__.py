"""The host side of products on operands of bfloat16: who may have them, and where the operands lie."""
