"""What a trained model or an encoder gives away: item features."""
