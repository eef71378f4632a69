import java.nio.ByteBuffer;

/** Of several versions of an entity the greatest stands. */
record Version(long revision, long recorded, String eventId) implements Comparable<Version> {

    @Override
    public int compareTo(Version other) {
        int order = Long.compare(revision, other.revision);
        if (order == 0) {
            order = Long.compare(recorded, other.recorded);
        }
        return order == 0 ? eventId.compareTo(other.eventId) : order;
    }

    void write(Bytes out) {
        out.put(revision).put(recorded).put(eventId);
    }

    static Version read(ByteBuffer in) {
        return new Version(in.getLong(), in.getLong(), Bytes.string(in));
    }
}
