import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** How many events have been processed, by all threads, and whether the last of them are committed. */
final class Progress {
    private final long expected;
    private final AtomicLong count = new AtomicLong();
    private final Map<TopicPartition, Long> last = new ConcurrentHashMap<>();

    Progress(long expected) {
        this.expected = expected;
    }

    void count() {
        count.incrementAndGet();
    }

    long counted() {
        return count.get();
    }

    boolean isAllProcessed() {
        return count.get() >= expected;
    }

    /** Takes a task's last offsets, when all is processed. */
    void processed(Map<TopicPartition, Long> offsets) {
        last.putAll(offsets);
    }

    /** Tells whether the group's offsets are behind the last events of all partitions. */
    boolean isCommitted(Admin admin, String group, int partitions) throws Exception {
        if (last.size() < partitions) {
            return false;
        }
        Map<TopicPartition, OffsetAndMetadata> committed =
                admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        return last.entrySet().stream().allMatch(each -> {
            OffsetAndMetadata there = committed.get(each.getKey());
            return there != null && there.offset() > each.getValue();
        });
    }
}
