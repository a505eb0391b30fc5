// Archives: their structure, and the data of all records.
#include <tests/fuzz/fuzz.h>
#include <tests/fuzz/one_file.h>

#include <stdexcept>

#include <fabric/checkpoint/format/zip_reader.h>

void fuzz::read_input(std::string_view input) {
  const OneFile file(input);
  const auto size = static_cast<std::int64_t>(input.size());
  const fabric::detail::ZipReader zip(file.input(), 0, size);
  for (const fabric::detail::ZipReader::Record& record : zip.records()) {
    if (record.offset < 0 || record.size < 0 || record.size > size - record.offset) {
      throw std::logic_error("a record lies outside of its archive");
    }
    if (zip.find(record.name) != &record) {
      throw std::logic_error("a record is not found by its name");
    }
    zip.read(record, size);
  }
}
