import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Merges an event into its lead's record, and adds what that changes to the table. */
final class Merge extends ContextualProcessor<String, Event, Void, Void> {
    static final String LEADS = "leads";
    static final String TABLE = "table";

    private final Progress progress;
    private final Map<TopicPartition, Long> processed = new HashMap<>();
    private final Map<String, Long> changes = new HashMap<>();
    private KeyValueStore<String, Lead> leads;
    private KeyValueStore<String, Long> table;
    private boolean isLast;

    Merge(Progress progress) {
        this.progress = progress;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        super.init(context);
        leads = context.getStateStore(LEADS);
        table = context.getStateStore(TABLE);
        context.schedule(Duration.ofMillis(50), PunctuationType.WALL_CLOCK_TIME, now -> commitTheLast());
    }

    @Override
    public void process(Record<String, Event> record) {
        Event event = record.value();
        Lead lead = leads.get(event.home());
        if (lead == null) {
            lead = new Lead();
        }
        if (lead.isNews(event)) {
            boolean isLead = event.home().startsWith("lead_id:");
            lead.contribute(isLead, (cell, number) -> changes.merge(cell, -number, Long::sum));
            lead.put(event);
            lead.contribute(isLead, (cell, number) -> changes.merge(cell, number, Long::sum));
            leads.put(event.home(), lead);
            changes.forEach(this::add);
            changes.clear();
        }
        count();
    }

    private void add(String cell, long number) {
        if (number != 0) {
            Long before = table.get(cell);
            table.put(cell, before == null ? number : before + number);
        }
    }

    private void count() {
        context().recordMetadata().ifPresent(
                at -> processed.put(new TopicPartition(at.topic(), at.partition()), at.offset()));
        progress.count();
    }

    /** The measurement ends with the commit of the last event; at least once, the next could be half a minute away. */
    private void commitTheLast() {
        if (!isLast && progress.isAllProcessed()) {
            isLast = true;
            progress.processed(processed);
            context().commit();
        }
    }
}
