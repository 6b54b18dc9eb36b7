from .memory import CircuitMemoryStorage as CircuitMemoryStorage
from .redis import CircuitRedisStorage as CircuitRedisStorage
