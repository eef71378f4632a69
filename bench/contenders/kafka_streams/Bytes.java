import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** A buffer that grows. */
final class Bytes {
    private ByteBuffer buffer = ByteBuffer.allocate(256);

    Bytes put(byte value) {
        room(1).put(value);
        return this;
    }

    Bytes put(boolean value) {
        return put((byte) (value ? 1 : 0));
    }

    Bytes put(long value) {
        room(Long.BYTES).putLong(value);
        return this;
    }

    Bytes put(String text) {
        byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
        room(Integer.BYTES + encoded.length).putInt(encoded.length).put(encoded);
        return this;
    }

    byte[] taken() {
        return Arrays.copyOf(buffer.array(), buffer.position());
    }

    static String string(ByteBuffer in) {
        int length = in.getInt();
        String text = new String(in.array(), in.position(), length, StandardCharsets.UTF_8);
        in.position(in.position() + length);
        return text;
    }

    private ByteBuffer room(int bytes) {
        if (buffer.remaining() < bytes) {
            int size = Math.max(buffer.capacity() * 2, buffer.position() + bytes);
            buffer = ByteBuffer.allocate(size).put(buffer.array(), 0, buffer.position());
        }
        return buffer;
    }
}
