"""What starts Kafka for kafka-python's tests, for which here is nothing to start: the brokers are there."""


class ExternalService:
    def __init__(self, host, port):
        self.host = host
        self.port = port

    def start(self):
        pass

    def stop(self):
        pass

    def dump_logs(self):
        pass


class SpawnedService:
    def __init__(self, *_args, **_settings):
        raise NotImplementedError("this test brings a broker of its own")
