import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** The topologies of ../topologies.go in Kafka Streams, with its own defaults. */
public final class Application {
  static final Duration TUMBLING = Duration.ofSeconds(10);
  static final Duration SLIDING = Duration.ofSeconds(5);
  static final Duration GAP = Duration.ofSeconds(5);
  static final Duration REACH = Duration.ofSeconds(10);

  final Map<String, String> args;
  final StreamsBuilder builder = new StreamsBuilder();
  final Serde<Long> key = Serdes.Long();
  final Avro order;
  final Avro customer;
  final Avro delivery;
  final String[] inputs;

  public static void main(String[] words) throws Exception {
    Map<String, String> args = new HashMap<>();
    for (int i = 0; i < words.length; i += 2) {
      args.put(words[i], words[i + 1]);
    }
    new Application(args).run();
  }

  Application(Map<String, String> args) throws IOException {
    this.args = args;
    inputs = args.get("--inputs").split(",");
    order = new Avro(args.get("--order"));
    customer = new Avro(args.get("--customer"));
    delivery = new Avro(args.get("--delivery"));
  }

  void run() throws InterruptedException {
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, args.get("--id"));
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args.get("--brokers"));
    config.put(StreamsConfig.STATE_DIR_CONFIG, args.get("--dir"));
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args.get("--commit"));
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args.get("--guarantee"));
    config.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
    build(args.get("--topology"));
    KafkaStreams streams = new KafkaStreams(builder.build(config), config);
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING) {
        System.out.println("running");
      } else if (now == KafkaStreams.State.ERROR) {
        Runtime.getRuntime().halt(1);
      }
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
    new CountDownLatch(1).await();
  }

  void build(String topology) {
    switch (topology) {
      case "stateless" -> orders(0)
          .filter((k, o) -> (Boolean) o.get("paid"))
          .mapValues(o -> {
            o.put("cents", (Long) o.get("cents") * (Integer) o.get("quantity"));
            return o;
          })
          .to(output(), Produced.with(key, order));
      case "count" -> grouped()
          .count(Materialized.<Long, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(key).withValueSerde(Serdes.Long()))
          .toStream().to(output(), Produced.with(key, Serdes.Long()));
      case "window" -> grouped().windowedBy(TimeWindows.ofSizeWithNoGrace(TUMBLING))
          .count(Materialized.<Long, Long, WindowStore<Bytes, byte[]>>as("counts").withKeySerde(key).withValueSerde(Serdes.Long()))
          .toStream().to(output(), Produced.with(WindowedSerdes.timeWindowedSerdeFrom(Long.class, TUMBLING.toMillis()), Serdes.Long()));
      case "window.sliding" -> grouped().windowedBy(SlidingWindows.ofTimeDifferenceWithNoGrace(SLIDING))
          .count(Materialized.<Long, Long, WindowStore<Bytes, byte[]>>as("counts").withKeySerde(key).withValueSerde(Serdes.Long()))
          .toStream().to(output(), Produced.with(WindowedSerdes.timeWindowedSerdeFrom(Long.class, SLIDING.toMillis()), Serdes.Long()));
      case "window.session" -> grouped().windowedBy(SessionWindows.ofInactivityGapWithNoGrace(GAP))
          .count(Materialized.<Long, Long, SessionStore<Bytes, byte[]>>as("counts").withKeySerde(key).withValueSerde(Serdes.Long()))
          .toStream().to(output(), Produced.with(WindowedSerdes.sessionWindowedSerdeFrom(Long.class), Serdes.Long()));
      case "join.table" -> {
        KTable<Long, GenericRecord> customers = builder.table(inputs[1], Consumed.with(key, customer),
            Materialized.<Long, GenericRecord, KeyValueStore<Bytes, byte[]>>as("customers").withKeySerde(key).withValueSerde(customer));
        orders(0).join(customers, (o, c) -> delivered(o.get("id"), c.get("name"), c.get("city"), o.get("cents"), o.get("note")), Joined.with(key, order, customer))
            .to(output(), Produced.with(key, delivery));
      }
      case "join.stream" -> orders(0)
          .join(orders(1), (l, r) -> delivered(l.get("id"), r.get("product"), l.get("product"), (Long) l.get("cents") + (Long) r.get("cents"), r.get("note")),
              JoinWindows.ofTimeDifferenceWithNoGrace(REACH), StreamJoined.with(key, order, order))
          .to(output(), Produced.with(key, delivery));
      case "latest" -> grouped()
          .reduce((before, o) -> o, Materialized.<Long, GenericRecord, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(key).withValueSerde(order))
          .toStream().to(output(), Produced.with(key, order));
      default -> throw new IllegalArgumentException(topology);
    }
  }

  KStream<Long, GenericRecord> orders(int input) {
    return builder.stream(inputs[input], Consumed.with(key, order));
  }

  KGroupedStream<Long, GenericRecord> grouped() {
    return orders(0).groupByKey(Grouped.with(key, order));
  }

  String output() {
    return args.get("--output");
  }

  GenericRecord delivered(Object id, Object name, Object city, Object cents, Object note) {
    GenericRecord d = new GenericData.Record(delivery.schema);
    d.put("order", id);
    d.put("name", name);
    d.put("city", city);
    d.put("cents", cents);
    d.put("note", note);
    return d;
  }

  /** Avro behind the five bytes that name its schema. The schema is known, so no registry is asked. */
  static final class Avro implements Serde<GenericRecord> {
    final Schema schema;
    final int id;

    /** The id of the schema, a colon, and the file it is in. */
    Avro(String place) throws IOException {
      int colon = place.indexOf(':');
      id = Integer.parseInt(place.substring(0, colon));
      schema = new Schema.Parser().parse(Files.readString(Path.of(place.substring(colon + 1))));
    }

    @Override
    public Serializer<GenericRecord> serializer() {
      GenericDatumWriter<GenericRecord> writer = new GenericDatumWriter<>(schema);
      ByteArrayOutputStream out = new ByteArrayOutputStream(256);
      BinaryEncoder[] encoder = new BinaryEncoder[1];
      return (topic, record) -> {
        if (record == null) {
          return null;
        }
        try {
          out.reset();
          out.writeBytes(ByteBuffer.allocate(5).put((byte) 0).putInt(id).array());
          encoder[0] = EncoderFactory.get().directBinaryEncoder(out, encoder[0]);
          writer.write(record, encoder[0]);
          return out.toByteArray();
        } catch (IOException e) {
          throw new IllegalStateException(e);
        }
      };
    }

    @Override
    public Deserializer<GenericRecord> deserializer() {
      GenericDatumReader<GenericRecord> reader = new GenericDatumReader<>(schema);
      BinaryDecoder[] decoder = new BinaryDecoder[1];
      return (topic, bytes) -> {
        if (bytes == null) {
          return null;
        }
        try {
          decoder[0] = DecoderFactory.get().binaryDecoder(bytes, 5, bytes.length - 5, decoder[0]);
          return reader.read(null, decoder[0]);
        } catch (IOException e) {
          throw new IllegalStateException(e);
        }
      };
    }
  }
}
