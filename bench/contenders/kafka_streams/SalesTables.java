import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

/**
 * SalesTables KAFKA RUN GUARANTEE THREADS PARTITIONS EVENTS FOLDER LEADS QUOTES DEALS
 *
 * <p>Reports as reporting.py has it.
 */
public final class SalesTables {
    private static final int REPORT_MILLIS = 20;

    private SalesTables() { }

    public static void main(String[] args) throws Exception {
        String kafka = args[0], run = args[1];
        int threads = Integer.parseInt(args[3]), partitions = Integer.parseInt(args[4]);
        long expected = Long.parseLong(args[5]);
        Progress progress = new Progress(expected);
        Topology topology = topology(progress, partitions, args[7], List.of(args[8], args[9]));
        Properties settings = settings(kafka, run, args[2], threads, Path.of(args[6], "state"));
        try (KafkaStreams streams = new KafkaStreams(topology, settings);
                Admin admin = Admin.create(Map.of("bootstrap.servers", kafka))) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
                return null;
            });
            streams.start();
            report(streams, admin, run, progress, expected, 2 * partitions);
        }
    }

    private static Properties settings(String kafka, String run, String guarantee, int threads, Path state) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, kafka);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, run);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 4000);
        return settings;
    }

    /** Quotes and deals are brought to the partition of their lead; what all three change is added up there. */
    private static Topology topology(Progress progress, int partitions, String leads, List<String> others) {
        Serde<String> keys = Serdes.String();
        Serde<Event> binary = Event.binarySerde();
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(Merge.LEADS), keys, Lead.serde()).withCachingEnabled());
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(Merge.TABLE), keys, Serdes.Long()).withCachingEnabled());
        Consumed<String, Event> events = Consumed.with(keys, Event.jsonSerde());
        KStream<String, Event> byLead = builder.stream(others, events)
                .selectKey((key, event) -> event.leadKey())
                .repartition(Repartitioned.with(keys, binary).withName("by-lead").withNumberOfPartitions(partitions));
        builder.stream(leads, events).merge(byLead).process(() -> new Merge(progress), Merge.LEADS, Merge.TABLE);
        return builder.build();
    }

    /** Reports from the moment that all threads are at work; the last event when all are committed. */
    private static void report(
            KafkaStreams streams, Admin admin, String run, Progress progress, long expected, int partitions)
            throws Exception {
        boolean atWork = false;
        while (!progress.isAllProcessed() || !progress.isCommitted(admin, run, partitions)) {
            Thread.sleep(REPORT_MILLIS);
            atWork = atWork || isAtWork(streams);
            if (atWork) {
                System.out.println("progress " + Math.min(progress.counted(), expected - 1));
            }
        }
        System.out.println("totals " + totals(streams));
        System.out.println("progress " + expected);
        Thread.currentThread().join();
    }

    private static boolean isAtWork(KafkaStreams streams) {
        return streams.state() == KafkaStreams.State.RUNNING
                && streams.metadataForLocalThreads().stream().noneMatch(thread -> thread.activeTasks().isEmpty());
    }

    /** Adds the partitions' tables up, by metric and month. */
    private static String totals(KafkaStreams streams) {
        Map<String, Map<String, Long>> found = new TreeMap<>();
        var type = QueryableStoreTypes.<String, Long>keyValueStore();
        var query = StoreQueryParameters.fromNameAndType(Merge.TABLE, type);
        try (KeyValueIterator<String, Long> cells = streams.store(query).all()) {
            cells.forEachRemaining(cell -> {
                String[] parts = cell.key.split("\\|", 3);
                found.computeIfAbsent(parts[1], metric -> new TreeMap<>()).merge(parts[0], cell.value, Long::sum);
            });
        }
        return found.entrySet().stream()
                .map(metric -> quoted(metric.getKey()) + months(metric.getValue()))
                .collect(Collectors.joining(", ", "{", "}"));
    }

    private static String months(Map<String, Long> months) {
        return months.entrySet().stream()
                .filter(month -> month.getValue() != 0)
                .map(month -> quoted(month.getKey()) + month.getValue())
                .collect(Collectors.joining(", ", "{", "}"));
    }

    private static String quoted(String name) {
        return '"' + name + "\": ";
    }
}
