"""What every part shares: argument checks, random streams, tables of HTML, files written whole or not at all."""
