import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Locale;
import java.util.Map;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * What the tables need of an event. It is read from JSON once; the repartition topic has it in a form of a few bytes.
 *
 * @param home the record that it belongs to, like lead_id:L-1
 * @param hundredths of a euro; 0 where nothing is sold or offered
 * @param counts a quote that qualifies, a deal that is won
 * @param text a lead's source, a deal's category
 */
record Event(
        Kind kind, String home, String id, Version version, long at, boolean retracted, long hundredths, boolean counts,
        String text) {

    enum Kind { LEAD, QUOTE, DEAL }

    private static final Kind[] KINDS = Kind.values();
    private static final int RECIPIENT_LIMIT = 10;
    private static final BigDecimal HUNDRED = BigDecimal.valueOf(100);
    private static final Map<String, BigDecimal> PER_EURO =
            Map.of("EUR", BigDecimal.ONE, "BGN", new BigDecimal("1.95583"));
    private static final JsonFactory JSON = new JsonFactory();

    /** The key whose partition the lead's own events are in. */
    String leadKey() {
        return home.substring(home.indexOf(':') + 1);
    }

    /** Reads JSON in UTF-8. */
    static Event fromJson(byte[] json) {
        Fields fields = new Fields();
        try (JsonParser parser = JSON.createParser(json)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                JsonToken token = parser.nextToken();
                if (token.isStructStart()) {
                    parser.skipChildren();
                } else if (token != JsonToken.VALUE_NULL) {
                    fields.set(name, parser);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return fields.event();
    }

    /** For the source topics, which are only read. */
    static Serde<Event> jsonSerde() {
        Deserializer<Event> reader = (topic, data) -> data == null ? null : fromJson(data);
        return Serdes.serdeFrom((topic, event) -> { throw new UnsupportedOperationException(); }, reader);
    }

    /** For the repartition topic. */
    static Serde<Event> binarySerde() {
        return Serdes.serdeFrom((topic, event) -> event.toBytes(), (topic, data) -> fromBytes(data));
    }

    private byte[] toBytes() {
        Bytes out = new Bytes();
        out.put((byte) kind.ordinal()).put(home).put(id);
        version.write(out);
        return out.put(at).put(retracted).put(hundredths).put(counts).put(text).taken();
    }

    private static Event fromBytes(byte[] data) {
        ByteBuffer in = ByteBuffer.wrap(data);
        return new Event(
                KINDS[in.get()], Bytes.string(in), Bytes.string(in), Version.read(in), in.getLong(), in.get() != 0,
                in.getLong(), in.get() != 0, Bytes.string(in));
    }

    /** The fields of the JSON that count. */
    private static final class Fields {
        private String eventId, occurredAt, recordedAt, leadId, quoteId, dealId;
        private String source, need, outcome, category, amount, currency;
        private long revision, recipients;
        private boolean retracted;

        void set(String name, JsonParser parser) throws IOException {
            switch (name) {
                case "event_id" -> eventId = parser.getText();
                case "occurred_at" -> occurredAt = parser.getText();
                case "recorded_at" -> recordedAt = parser.getText();
                case "revision" -> revision = parser.getLongValue();
                case "retracted" -> retracted = parser.getBooleanValue();
                case "lead_id" -> leadId = parser.getText();
                case "quote_id" -> quoteId = parser.getText();
                case "deal_id" -> dealId = parser.getText();
                case "source" -> source = parser.getText();
                case "need" -> need = parser.getText();
                case "recipient_count" -> recipients = parser.getLongValue();
                case "outcome" -> outcome = parser.getText();
                case "category" -> category = parser.getText();
                case "amount" -> amount = parser.getText();
                case "currency" -> currency = parser.getText();
                default -> { }
            }
        }

        Event event() {
            long at = micros(occurredAt);
            long recorded = recordedAt == null ? at : micros(recordedAt);
            Version version = new Version(revision, recorded, eventId);
            if (dealId != null) {
                boolean won = !retracted && "won".equals(outcome);
                String kept = category == null || category.isEmpty() ? "new_account" : category;
                return new Event(Kind.DEAL, home(), dealId, version, at, retracted, won ? hundredths() : 0, won, kept);
            }
            if (quoteId != null) {
                boolean qualifies = !retracted && need != null && !need.isBlank() && recipients <= RECIPIENT_LIMIT;
                long offered = retracted ? 0 : hundredths();
                return new Event(Kind.QUOTE, home(), quoteId, version, at, retracted, offered, qualifies, "");
            }
            String from = source == null ? "" : source.strip().toLowerCase(Locale.ROOT);
            return new Event(Kind.LEAD, home(), leadId, version, at, retracted, 0, false, from);
        }

        private String home() {
            if (leadId != null && !leadId.isEmpty()) {
                return "lead_id:" + leadId;
            }
            return quoteId != null && !quoteId.isEmpty() ? "quote_id:" + quoteId : "deal_id:" + dealId;
        }

        private long hundredths() {
            BigDecimal euros = new BigDecimal(amount);
            BigDecimal rate = PER_EURO.get(currency);
            if (rate != BigDecimal.ONE) {
                euros = euros.divide(rate, new MathContext(28, RoundingMode.HALF_EVEN));
            }
            return euros.multiply(HUNDRED).setScale(0, RoundingMode.HALF_UP).longValueExact();
        }

        private static long micros(String text) {
            Instant instant = OffsetDateTime.parse(text).toInstant();
            return instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1_000;
        }
    }
}
