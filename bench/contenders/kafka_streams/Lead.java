import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ObjLongConsumer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** The record of a lead: the standing version of each of its entities, as they came. */
final class Lead {
    private static final ZoneId ZONE = ZoneId.of("Europe/Sofia");
    private static final Event.Kind[] KINDS = Event.Kind.values();

    private record Entity(
            Event.Kind kind, String id, Version version, long at, boolean retracted, long hundredths, boolean counts,
            String text) {

        boolean isBefore(Entity other) {
            return at != other.at ? at < other.at : id.compareTo(other.id) < 0;
        }
    }

    private final List<Entity> entities;

    Lead() {
        this(new ArrayList<>(2));
    }

    private Lead(List<Entity> entities) {
        this.entities = entities;
    }

    /** Tells whether an event says something new of its entity. */
    boolean isNews(Event event) {
        int place = place(event);
        return place < 0 || entities.get(place).version.compareTo(event.version()) < 0;
    }

    /** Puts an event that is news in. */
    void put(Event event) {
        Entity entity = new Entity(
                event.kind(), event.id(), event.version(), event.at(), event.retracted(), event.hundredths(),
                event.counts(), event.text());
        int place = place(event);
        if (place < 0) {
            entities.add(entity);
        } else {
            entities.set(place, entity);
        }
    }

    private int place(Event event) {
        for (int place = 0; place < entities.size(); place++) {
            Entity entity = entities.get(place);
            if (entity.kind == event.kind() && entity.id.equals(event.id())) {
                return place;
            }
        }
        return -1;
    }

    /** Gives what it adds to the table: cells named month|metric|dimension. */
    void contribute(boolean isLead, ObjLongConsumer<String> cells) {
        Entity lead = null, first = null, last = null;
        for (Entity entity : entities) {
            if (entity.retracted) {
                continue;
            }
            if (entity.kind == Event.Kind.LEAD) {
                lead = entity;
            } else if (entity.counts && entity.kind == Event.Kind.QUOTE) {
                first = first == null || entity.isBefore(first) ? entity : first;
                last = last == null || last.isBefore(entity) ? entity : last;
            } else if (entity.counts) {
                String month = month(entity.at);
                cells.accept(month + "|booked_sales|category=" + entity.text, 1);
                cells.accept(month + "|booked_sales_value|category=" + entity.text, entity.hundredths);
            }
        }
        String source = lead == null || lead.text.isEmpty() ? "unknown" : lead.text;
        if (lead != null) {
            cells.accept(month(lead.at) + "|leads|source=" + source, 1);
        }
        if (first != null && isLead) {
            String month = month(first.at);
            cells.accept(month + "|qualified_leads|source=" + source, 1);
            cells.accept(month + "|qualified_leads_value|source=" + source, last.hundredths);
        }
    }

    private static String month(long micros) {
        ZonedDateTime local = Instant.ofEpochSecond(Math.floorDiv(micros, 1_000_000L)).atZone(ZONE);
        int month = local.getMonthValue();
        return local.getYear() + (month < 10 ? "-0" : "-") + month;
    }

    static Serde<Lead> serde() {
        return Serdes.serdeFrom(
                (topic, lead) -> lead == null ? null : lead.toBytes(),
                (topic, data) -> data == null ? null : read(data));
    }

    private byte[] toBytes() {
        Bytes out = new Bytes();
        for (Entity entity : entities) {
            out.put((byte) entity.kind.ordinal()).put(entity.id);
            entity.version.write(out);
            out.put(entity.at).put(entity.retracted).put(entity.hundredths).put(entity.counts).put(entity.text);
        }
        return out.taken();
    }

    private static Lead read(byte[] data) {
        ByteBuffer in = ByteBuffer.wrap(data);
        List<Entity> entities = new ArrayList<>(4);
        while (in.hasRemaining()) {
            entities.add(new Entity(
                    KINDS[in.get()], Bytes.string(in), Version.read(in), in.getLong(), in.get() != 0, in.getLong(),
                    in.get() != 0, Bytes.string(in)));
        }
        return new Lead(entities);
    }
}
