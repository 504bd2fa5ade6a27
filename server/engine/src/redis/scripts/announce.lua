-- Announces a text to all servers. ARGV: the maximum number of events, the text.
add_event(take(), 'announced', take())
return 0
