"""A site of stock Flower: changes every weight by a share of itself."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bench.networks.stopwatch import STEP, timed

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one round."""
    base = message.content.array_records["arrays"].to_numpy_ndarrays()
    site = str(context.node_config["site"])
    update = timed(site, lambda: [array * array.dtype.type(1 + STEP[site]) for array in base])
    content = RecordDict({"arrays": ArrayRecord(update), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)
